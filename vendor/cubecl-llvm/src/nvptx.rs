//! NVIDIA's target: only the name of a PTX version.

/// The PTX version that a driver reads.
pub mod ptx_version {
    use core::fmt;

    /// A PTX version to emit. It has no values: nothing is emitted here.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum PtxVersion {}

    impl PtxVersion {
        /// The newest version that a driver of CUDA `driver` (12.8 is `12080`) reads.
        ///
        /// Always `None`, which leaves the choice to the generator. `cubecl-cuda` reads
        /// it only to name the cache of kernels that the LLVM generator made.
        pub fn for_driver(_driver: i32) -> Option<Self> {
            None
        }
    }

    impl fmt::Display for PtxVersion {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            match *self {}
        }
    }
}
