//! Pictures made larger and smaller, in graphs.

use super::Lab;
use crate::values::Image;

/// The picture that `node` gives of the lab's 32×16 photo.
fn picture(lab: &mut Lab, node: &str) -> Image {
    let nodes = format!(
        r#""photo": LoadImage(path: "images/scene.png"),
        "enlarger": LoadUpscaleModel(path: "weights/x2.safetensors"),
        "other": {node},"#
    );
    let report = lab.run(&nodes, &["other"]);
    (*report.value::<Image>("other.image").unwrap()).clone()
}

/// The largest difference.
fn apart(a: &Image, b: &Image) -> f32 {
    assert_eq!(a.pixels().shape(), b.pixels().shape());
    let pairs = a.pixels().numbers().iter().zip(b.pixels().numbers());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_model_enlarges_by_its_own_factor_and_tiles_show_little() {
    let mut lab = Lab::new();
    let whole = picture(
        &mut lab,
        r#"ImageUpscale(model: "enlarger", image: "photo")"#,
    );
    assert_eq!(whole.pixels().shape(), [1, 3, 32, 64]);
    assert!(
        whole
            .pixels()
            .numbers()
            .iter()
            .all(|x| (0.0..=1.0).contains(x))
    );
    let nearest = r#"ImageScale(image: "photo", width: 64, height: 32, method: Nearest)"#;
    let nearest = picture(&mut lab, nearest);
    let off = apart(&whole, &nearest);
    assert!(
        off > 0.01 && off < 0.9,
        "near what it was, and not the same: {off}"
    );
    let photo = |tile: usize, overlap: usize| {
        format!(
            r#"ImageUpscale(
                model: "enlarger", image: "wide", tile: {tile}, overlap: {overlap},
            ),
            "wide": ImageScale(image: "photo", width: 80, height: 40)"#
        )
    };
    let whole = picture(&mut lab, &photo(512, 32));
    let tiled = picture(&mut lab, &photo(32, 8));
    let off = apart(&whole, &tiled);
    assert!(off > 0.0 && off < 0.1, "{off}");
}

#[test]
fn a_size_can_be_brought_back_and_a_crop_is_no_stretch() {
    let mut lab = Lab::new();
    for method in ["Nearest", "Bilinear", "Bicubic", "Area", "Lanczos"] {
        let node =
            format!(r#"ImageScale(image: "photo", width: 32, height: 16, method: {method})"#);
        let same = picture(&mut lab, &node);
        let photo = picture(&mut lab, r#"LoadImage(path: "images/scene.png")"#);
        assert_eq!(apart(&same, &photo), 0.0, "{method}");
    }
    let scale = |crop: bool| {
        format!(r#"ImageScale(image: "photo", width: 16, height: 16, method: Area, crop: {crop})"#)
    };
    let (cut, stretched) = (
        picture(&mut lab, &scale(true)),
        picture(&mut lab, &scale(false)),
    );
    assert_eq!(cut.pixels().shape(), [1, 3, 16, 16]);
    // Red rises by 8 a pixel from the left: the middle half begins at 64.
    assert_eq!(cut.rgb8(0)[0], 64);
    assert_eq!(stretched.rgb8(0)[0], 4);
}

#[test]
fn what_cannot_work_is_said_while_planning() {
    let lab = Lab::new();
    let refusal = |node: &str| {
        lab.refusal(&format!(
            r#""photo": LoadImage(path: "images/scene.png"),
            "enlarger": LoadUpscaleModel(path: "weights/x2.safetensors"),
            "save": SaveImage(image: "other", path: "a.png"),
            "other": {node},"#
        ))
    };
    let wide = r#"ImageUpscale(model: "enlarger", image: "photo", tile: 32, overlap: 32)"#;
    let said = refusal(wide);
    assert!(said.contains("wanted less than the tile's 32"), "{said}");
    let large = r#"ImageUpscale(model: "enlarger", image: "wide"),
        "wide": ImageScale(image: "photo", width: 16384, height: 5000)"#;
    let said = refusal(large);
    assert!(said.contains("over 1 GiB"), "{said}");
    let model = r#"ImageUpscale(model: "wrong", image: "photo"),
        "wrong": LoadUpscaleModel(path: "weights/text/unet.safetensors")"#;
    let said = refusal(model);
    assert!(said.contains("is no upscaler of the ESRGAN"), "{said}");
}
