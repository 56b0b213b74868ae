//! Pickles written out by hand: what is read, what is refused, and that neither costs more
//! than its bytes.
//!
//! Checkpoints of PyTorch's own making are in `models/tests/golden/checkpoints.rs`.

use super::*;

/// What is said of a pickle that is refused.
fn refusal(bytes: &[u8]) -> String {
    let read = Pickle::read(bytes).and_then(|(pickle, _)| pickle.tensors());
    read.expect_err("it must be refused")
}

fn found(bytes: &[u8]) -> Found {
    Pickle::read(bytes).unwrap().0.tensors().unwrap()
}

/// A tensor over storage 0, with `size` where the shape stands: pickled arguments.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x08tQ";
    let call = &b"ctorch._utils\n_rebuild_tensor_v2\n"[..];
    [call, storage, offset, shape, strides, b"\x89}tR"].concat()
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let key = [
        b"}X",
        &(name.len() as u32).to_le_bytes()[..],
        name.as_bytes(),
    ]
    .concat();
    [&key[..], value, b"s"].concat()
}

fn whole(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

fn plain() -> Vec<u8> {
    tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86")
}

#[test]
fn a_tensor_is_what_the_pickle_says_of_it() {
    let found = found(&whole(&named("a", &plain())));
    let a = &found.tensors["a"];
    assert_eq!(
        (&a.storage.key[..], a.dtype, a.offset),
        ("0", Dtype::F32, 0)
    );
    assert_eq!((&a.shape[..], &a.strides[..]), (&[2, 3][..], &[3, 1][..]));
    assert!(found.storages.contains_key("0"));
}

#[test]
fn names_are_the_way_from_the_top_without_the_wrapping() {
    let inner = named("b", &plain());
    for (bytes, name) in [
        (plain(), ""),
        (named("a", &named("c", &plain())), "c"),
        (named("state_dict", &named("a", &inner)), "a.b"),
        (
            [b"(", &plain()[..], &named("a", &inner), b"l"].concat(),
            "1.a.b",
        ),
    ] {
        let found = found(&whole(&bytes));
        assert!(found.tensors.contains_key(name), "{name}: {found:?}");
    }
}

#[test]
fn a_path_among_a_trainers_settings_is_data() {
    for module in ["pathlib", "pathlib._local"] {
        let path = format!("c{module}\nPosixPath\n(U\x03etcU\x06passwdtR");
        let both = [
            &b"(X\x05\x00\x00\x00paths"[..],
            path.as_bytes(),
            b"X\x01\x00\x00\x00a",
            &plain(),
            b"d",
        ];
        let found = found(&whole(&both.concat()));
        assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["a"]);
    }
    let said = refusal(&whole(b"cpathlib\nos.system\n(U\x02lstR"));
    assert!(said.contains("pathlib.os.system"), "{said}");
}

#[test]
fn a_whole_network_has_the_names_of_its_state() {
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n(",
        &plain()[..],
        b"\x88}tR",
    ]
    .concat();
    let state = |table: &str, inner: &[u8]| {
        let table = named(table, inner);
        [b"ctorch.nn.modules.linear\nLinear\n)\x81", &table[..], b"b"].concat()
    };
    let part = state("_parameters", &named("weight", &parameter));
    let network = state("_modules", &named("out", &part));
    assert!(found(&whole(&network)).tensors.contains_key("out.weight"));
}

#[test]
fn words_and_numbers_beside_the_weights_are_notes() {
    let found = found(&whole(
        b"}(U\x04nameU\x03catU\x05stepsM\xe8\x03U\x0astate_dict}U\x01ac\
          torch._utils\n_rebuild_tensor\n(\
          (U\x07storagectorch\nHalfStorage\nU\x010U\x03cpuK\x08tQK\x00))tRsu",
    ));
    assert_eq!(found.notes["name"], "cat");
    assert_eq!(found.notes["steps"], "1000");
    assert_eq!(found.tensors["a"].dtype, Dtype::F16);
}

#[test]
fn what_a_trainer_leaves_beside_the_weights_is_passed_over() {
    let callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n";
    let scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02f8\x89\x88tR\
        (K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbc_codecs\nencode\n\
        (X\x02\x00\x00\x00abX\x06\x00\x00\x00latin1tRtR";
    let bytes = [
        b"}(U\x09callbacks}",
        &callback[..],
        &named("best", scalar),
        b"sU\x0astate_dict",
        &named("a", &plain()),
        b"u",
    ]
    .concat();
    assert_eq!(found(&whole(&bytes)).tensors.len(), 1);
}

/// Each would run something in Python; here the name is the end.
#[test]
fn a_name_that_weights_do_not_need_is_refused_by_name() {
    let reduce = |name: &str| [b"c", name.as_bytes(), b"\n(U\x07touch xtR"].concat();
    for (bytes, name) in [
        (reduce("os\nsystem"), "os.system"),
        (reduce("posix\nsystem"), "posix.system"),
        (reduce("builtins\neval"), "builtins.eval"),
        (reduce("__builtin__\nexec"), "__builtin__.exec"),
        (reduce("builtins\ngetattr"), "builtins.getattr"),
        (reduce("subprocess\nPopen"), "subprocess.Popen"),
        (reduce("runpy\n_run_code"), "runpy._run_code"),
        (reduce("torch\nload"), "torch.load"),
        (reduce("torch.hub\nload"), "torch.hub.load"),
        (
            reduce("torch.serialization\nos.system"),
            "torch.serialization.os.system",
        ),
        (
            reduce("torch.nn.modules\nModule.os.system"),
            "torch.nn.modules.Module.os.system",
        ),
        (reduce("pytorch_lightning\nos"), "pytorch_lightning.os"),
        (reduce("torch.nnx\nModule"), "torch.nnx.Module"),
        (reduce("numpy\nload"), "numpy.load"),
        (
            b"\x8c\x02os\x8c\x06system\x93(\x8c\x01xtR".to_vec(),
            "os.system",
        ),
        (b"(S'x'\nios\nsystem\n".to_vec(), "os.system"),
        (b"(cos\nsystem\nS'x'\no".to_vec(), "os.system"),
        (b"csubprocess\nPopen\n)\x81".to_vec(), "subprocess.Popen"),
        (b"csubprocess\nPopen\n)}\x92".to_vec(), "subprocess.Popen"),
        (
            b"cbuiltins\nobject\n)\x81csys\nmodules\nb".to_vec(),
            "sys.modules",
        ),
        (
            b"ccopyreg\nadd_extension\n(tR".to_vec(),
            "copyreg.add_extension",
        ),
    ] {
        for bytes in [
            whole(&bytes),
            whole(&named("a", &[&plain()[..], &bytes].concat())),
        ] {
            let said = refusal(&bytes);
            let wanted = format!("names `{name}`, which weights have no need of");
            assert!(said.starts_with(&wanted), "{said}");
        }
    }
}

#[test]
fn what_torch_save_does_not_do_is_refused() {
    for (bytes, wanted) in [
        // The name is made by a call.
        (
            &b"\x8c\x02oscbuiltins\nstr\n(U\x06systemtR\x93"[..],
            "computes the name",
        ),
        (b"U\x01aU\x01btR", "a mark"),
        (b"U\x01a)R", "calls what is no name"),
        (b"U\x01a)\x81", "makes an object of what is no class"),
        (b"ctorch\nHalfStorage\n)R", "calls a number type"),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n)\x81",
            "makes an object of what is no class",
        ),
        (
            b"(itorch.nn.modules.linear\nLinear\n",
            "in a way that torch.save does not",
        ),
        (b"\x82\x01", "has the opcode 0x82"),
        (b"Pxyz\n", "has the opcode 0x50"),
        (b"\x97", "has the opcode 0x97"),
        (b"U\x01a}b", "gives a state to what has none"),
        (b"U\x01aQ", "a list"),
        (
            b"(U\x05thinkctorch\nFloatStorage\nU\x010NK\x01tQ",
            "a storage",
        ),
        (b"h\x07", "a remembered value"),
        (b"0", "a value"),
        (b"N", "holds no tensors"),
    ] {
        let said = refusal(&whole(bytes));
        assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
    }
    assert!(refusal(b"\x80\x06N.").contains("protocol 6"));
}

#[test]
fn sizes_that_are_none_are_refused() {
    for (offset, shape, strides) in [
        (
            &b"J\xff\xff\xff\xff"[..],
            &b"K\x02\x85"[..],
            &b"K\x01\x85"[..],
        ),
        (b"K\x00", b"J\xfe\xff\xff\xff\x85", b"K\x01\x85"),
        (b"K\x00", b"K\x02\x85", b"J\xfe\xff\xff\xff\x85"),
        (b"K\x00", b"K\x02\x85", b"K\x01K\x01\x86"),
    ] {
        let said = refusal(&whole(&named("a", &tensor(offset, shape, strides))));
        assert!(said.starts_with("describes a tensor"), "{said}");
    }
    let wide = b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00\x85";
    let said = refusal(&whole(&named("a", &tensor(b"K\x00", wide, b"K\x01\x85"))));
    assert!(said.contains("a size"), "{said}");
}

#[test]
fn every_cut_of_a_pickle_is_an_error() {
    let bytes = whole(&named("a", &plain()));
    for length in 0..bytes.len() {
        refusal(&bytes[..length]);
    }
}

#[test]
fn no_bytes_make_it_panic() {
    // A walk through the bytes of a sound pickle, one changed at a time, and then many.
    let sound = whole(&named("a", &plain()));
    let mut state = 1u64;
    for round in 0..20_000 {
        let mut bytes = sound.clone();
        for _ in 0..=round % 7 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        let read = Pickle::read(&bytes).and_then(|(pickle, _)| pickle.tensors());
        assert!(read.is_ok() || !read.unwrap_err().is_empty());
    }
}

#[test]
fn a_value_said_often_is_one_value() {
    // A list of two of the list before, forty times: 2^40 ways to the bottom.
    let mut bytes = b"]q\x00".to_vec();
    for level in 1..41u8 {
        bytes.extend([
            b']',
            b'q',
            level,
            b'(',
            b'h',
            level - 1,
            b'h',
            level - 1,
            b'e',
        ]);
    }
    assert!(refusal(&whole(&bytes)).contains("repeats itself more often"));
    // A list that holds itself.
    assert!(refusal(&whole(b"]q\x00h\x00a")).contains("nests deeper"));
    assert!(refusal(&whole(b"]q\x00(h\x00h\x00e")).contains("nests deeper"));
    // A thousand thousand lists, each inside the next.
    let deep = [vec![b']'; 1 << 20], vec![b'a'; (1 << 20) - 1]].concat();
    assert!(refusal(&whole(&deep)).contains("nests deeper"));
    // Pairs copied from a list into dictionaries.
    let mut copies = b"](".to_vec();
    copies.extend(b"K\x00K\x00\x86".repeat(10_000));
    copies.extend(b"e\x85q\x00");
    copies.extend(b"ccollections\nOrderedDict\nh\x00R0".repeat(1000));
    assert!(refusal(&whole(&copies)).contains("more than"));
}
