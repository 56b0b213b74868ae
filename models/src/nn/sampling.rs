//! Resampling without parameters.

use burn::tensor::Tensor;

/// Each pixel becomes two by two. `x [b, c, h, w]` → `[b, c, 2h, 2w]`
pub fn upsample(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    // A view repeated, not burn's `interpolate`: that has no gradient on every backend.
    let x: Tensor<6> = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]);
    x.reshape([b, c, 2 * h, 2 * w])
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
}
