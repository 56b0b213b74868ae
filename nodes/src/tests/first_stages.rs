//! Autoencoders with a codebook, and networks of classes and maps, in graphs.

use burn::tensor::Device;
use ldm_models::autoencoder::{VaeConfig, VqAutoencoderConfig};
use ldm_models::weights::manifest::VaePart;
use ldm_models::weights::{LatentSpec, Manifest};

use super::{Lab, write};
use crate::values::{Image, Latent};

/// A model of an autoencoder with a codebook, `weights/coded`.
fn coded(lab: &Lab) {
    let folder = lab.folder.path().join("weights/coded");
    std::fs::create_dir_all(&folder).unwrap();
    let config = VqAutoencoderConfig {
        in_channels: 3,
        ch: 4,
        ch_mult: vec![1, 2],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 32,
        attention: true,
        z_channels: 3,
        embed_dim: 3,
        codes: 7,
        groups: 2,
    };
    let network = config.init(&Device::flex(), 3).unwrap();
    write(network, &folder, "vae.safetensors");
    let latent = LatentSpec {
        factor: 2,
        channels: 3,
        scale: 0.5,
    };
    let mut manifest = Manifest::new("coded", latent);
    manifest.vae = Some(VaePart {
        fits_f16: false,
        file: "vae.safetensors".into(),
        config: VaeConfig::Vq(config),
    });
    manifest.write(&folder).unwrap();
}

const PICTURE: &str = r#"
    "model": LoadModel(path: "weights/coded"),
    "photo": LoadImage(path: "images/scene.png"),
    "latent": VaeEncode(vae: "model", image: "photo"),
    "drawn": VaeEncode(vae: "model", image: "photo", seed: 3),
    "picture": VaeDecode(vae: "model", latent: "latent"),
    "again": VaeEncode(vae: "model", image: "picture"),
"#;

#[test]
fn a_codebook_is_for_decoding_and_leaves_nothing_to_draw() {
    let mut lab = Lab::new();
    coded(&lab);
    let report = lab.run(PICTURE, &["latent", "drawn", "picture", "again"]);
    let latent = |name: &str| report.values[name].get::<Latent>().unwrap().numbers.clone();
    assert_eq!(latent("latent.latent").shape(), [1, 3, 8, 16]);
    assert_eq!(latent("latent.latent"), latent("drawn.latent"));
    let mut values: Vec<u32> = latent("latent.latent")
        .numbers()
        .iter()
        .map(|x| x.to_bits())
        .collect();
    values.sort_unstable();
    values.dedup();
    assert!(
        values.len() > 3 * 7,
        "more numbers than a codebook of 7 has"
    );
    let picture = report.values["picture.image"].get::<Image>().unwrap();
    assert_eq!(picture.pixels().shape(), [1, 3, 16, 32]);
}

#[test]
fn a_model_keeps_its_codebook_its_classes_and_its_maps_when_it_is_saved() {
    let mut lab = Lab::new();
    coded(&lab);
    let save = |vae: &str, rest: &str, to: &str| {
        format!(
            r#""vae": LoadModel(path: "{vae}"), "rest": LoadModel(path: "{rest}"),
            "save": SaveModel(
                vae: "vae", class_embedder: "rest", spatial_rescaler: "rest", path: "{to}",
            ),"#
        )
    };
    lab.run(&save("weights/coded", "weights/classes", "first"), &[]);
    lab.run(&save("out/first", "out/first", "second"), &[]);
    for file in ["vae", "class_embedder", "spatial_rescaler"] {
        let read = |model: &str| {
            let file = format!("out/{model}/{file}.safetensors");
            std::fs::read(lab.folder.path().join(file)).unwrap()
        };
        assert_eq!(read("first"), read("second"), "{file}");
    }
}

#[test]
fn a_class_beyond_the_last_and_a_map_of_an_odd_size_are_planning_errors() {
    let lab = Lab::new();
    let model = r#""model": LoadModel(path: "weights/classes"),"#;
    let said = lab.refusal(&format!(
        r#"{model} "class": ClassEncode(class_embedder: "model", class: 1000),"#
    ));
    assert!(
        said.contains("is 1000, this model has 1000 classes"),
        "{said}"
    );
    assert!(said.contains("the last is 999"), "{said}");
    let map = image::GrayImage::new(10, 8);
    map.save(lab.folder.path().join("images/odd.png")).unwrap();
    let said = lab.refusal(&format!(
        r#"{model} "map": LoadImage(path: "images/odd.png"),
        "layout": SemanticEncode(spatial_rescaler: "model", map: "map"),"#
    ));
    assert!(
        said.contains("wants sides that are multiples of 4, found 10×8"),
        "{said}"
    );
}
