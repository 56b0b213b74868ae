//! The names of upscalers: ESRGAN's in three generations, and the compact network's.

use super::Names;
use crate::upscale::{CompactConfig, Places, RrdbConfig, Style};

/// A residual-in-residual dense network under the names of `style`.
pub(super) fn rrdb(config: &RrdbConfig, style: Style) -> Names {
    let places = Places::of(style);
    let mut names = Names::default();
    names.layers(&[
        ("first", places.first),
        ("trunk", &(places.trunk)(config.blocks)),
        ("hr", &(places.hr)(config.doublings)),
        ("last", &(places.last)(config.doublings)),
    ]);
    for i in 0..config.doublings {
        names.layers(&[(&format!("up.{i}"), &(places.up)(i))]);
    }
    for block in 0..config.blocks {
        for dense in 0..3 {
            let ours = format!("blocks.{block}.dense.{dense}");
            let point = (places.point)(block, dense);
            names.layers(&[(&format!("{ours}.point"), &point)]);
            for conv in 0..5 {
                let theirs = (places.dense)(block, dense, conv);
                names.layers(&[(&format!("{ours}.convs.{conv}"), &theirs)]);
            }
        }
    }
    names
}

/// A compact network: convolutions and slopes alternate in one list.
pub(super) fn compact(config: &CompactConfig) -> Names {
    let mut names = Names::default();
    for i in 0..=config.convs {
        names.layers(&[
            (&format!("convs.{i}"), &format!("body.{}", 2 * i)),
            (&format!("slopes.{i}"), &format!("body.{}", 2 * i + 1)),
        ]);
    }
    let last = format!("body.{}", 2 * config.convs + 2);
    names.layers(&[("last", &last)]);
    names
}
