//! Resampling without parameters.

use burn::tensor::Tensor;
use ldm_kernels as kernels;

/// Each pixel becomes two by two. `x [b, c, h, w]` → `[b, c, 2h, 2w]`
pub fn upsample(x: Tensor<4>) -> Tensor<4> {
    kernels::reference::double(x)
}

/// Each pixel becomes `n` by `n`. `x [b, c, h, w]` → `[b, c, n·h, n·w]`
pub fn enlarged(x: Tensor<4>, n: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    // A view repeated, not burn's `interpolate`: that has no gradient on every backend.
    let x: Tensor<6> = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, n, w, n]);
    x.reshape([b, c, n * h, n * w])
}

/// Each `n·n` channels become `n` by `n` pixels. `x [b, c·n², h, w]` → `[b, c, n·h, n·w]`
pub fn pixel_shuffle(x: Tensor<4>, n: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let c = c / (n * n);
    let x: Tensor<6> = x.reshape([b, c, n, n, h, w]).permute([0, 1, 4, 2, 5, 3]);
    x.reshape([b, c, n * h, n * w])
}

/// Each `n` by `n` pixels become `n·n` channels. `x [b, c, n·h, n·w]` → `[b, c·n², h, w]`
pub fn pixel_unshuffle(x: Tensor<4>, n: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let (h, w) = (h / n, w / n);
    let x: Tensor<6> = x.reshape([b, c, h, n, w, n]).permute([0, 1, 3, 5, 2, 4]);
    x.reshape([b, c * n * n, h, w])
}

/// Two by two pixels become their mean; an odd row or column is left out.
/// `x [b, c, h, w]` → `[b, c, h / 2, w / 2]`
pub fn mean_of_four(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let (h, w) = (h / 2, w / 2);
    let x = x.narrow(2, 0, 2 * h).narrow(3, 0, 2 * w);
    let x: Tensor<6> = x.reshape([b, c, h, 2, w, 2]);
    x.mean_dim(5).mean_dim(3).reshape([b, c, h, w])
}

/// `[b, 2c, h, w]` → its first and its last c channels
pub fn halves(x: Tensor<4>) -> [Tensor<4>; 2] {
    let c = x.dims()[1] / 2;
    [x.clone().narrow(1, 0, c), x.narrow(1, c, c)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn each_pixel_becomes_two_by_two() {
        let x = Tensor::<4>::from_data([[[[1.0, 2.0], [3.0, 4.0]]]], &Device::flex());
        let wanted = [
            1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.,
        ];
        let got: Vec<f32> = upsample(x).into_data().try_to_vec().unwrap();
        assert_eq!(got, wanted);
    }

    #[test]
    fn two_by_two_pixels_become_their_mean() {
        let x = [[[[1.0, 3.0, 9.0], [4.0, 8.0, 9.0], [9.0, 9.0, 9.0]]]];
        let x = Tensor::<4>::from_data(x, &Device::flex());
        let got: Vec<f32> = mean_of_four(x).into_data().try_to_vec().unwrap();
        assert_eq!(got, [4.0]);
    }

    #[test]
    fn pixels_become_channels_row_by_row_and_come_back() {
        let x = [[[[1.0f32, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]];
        let x = Tensor::<4>::from_data(x, &Device::flex());
        let channels = pixel_unshuffle(x.clone(), 2);
        assert_eq!(channels.dims(), [1, 8, 1, 1]);
        let numbers: Vec<f32> = channels.clone().into_data().try_to_vec().unwrap();
        assert_eq!(numbers, [1., 2., 3., 4., 5., 6., 7., 8.]);
        assert_eq!(pixel_shuffle(channels, 2).into_data(), x.into_data());
    }
}
