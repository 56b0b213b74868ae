use super::*;

/// Numbers that look random, the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A buffer given out, and the byte that it is filled with.
struct Buffer(*mut u8, usize, u8);

impl Buffer {
    fn new(pool: &Pool, size: usize, mark: u8) -> Self {
        let at = pool.alloc(size);
        assert!(!at.is_null());
        // SAFETY: it was given out for `size` bytes.
        unsafe { at.write_bytes(mark, size) };
        Self(at, size, mark)
    }

    /// Frees it, having found its content untouched.
    fn free(self, pool: &Pool) {
        let Self(at, size, mark) = self;
        // SAFETY: it holds `size` bytes, which nobody uses after this.
        unsafe {
            let content = std::slice::from_raw_parts(at, size);
            assert!(content.iter().all(|byte| *byte == mark));
            pool.dealloc(at, size);
        }
    }
}

impl State {
    /// What the module promises, and that its sums are right.
    fn check(&self) {
        let kept = &self.kept[..self.count];
        assert_eq!(self.sum, kept.iter().map(|range| range.size).sum::<usize>());
        let [live, sum, peak] = [self.live, self.sum, self.peak];
        assert!(
            live + sum <= peak,
            "{live} live, {sum} kept, {peak} at most"
        );
        for (i, range) in kept.iter().enumerate() {
            assert!(range.size > 0 && range.size.is_multiple_of(GRAIN));
            let apart = |other: &Range| other.end() < range.start || range.end() < other.start;
            assert!(kept[..i].iter().all(apart), "ranges that touch are one");
        }
    }
}

/// Bytes that are kept, in how many ranges.
fn kept(pool: &Pool) -> (usize, usize) {
    let state = pool.lock();
    (state.sum, state.count)
}

/// A random life of buffers; `peak` hears of the sizes that are live after each change.
fn live_on(pool: &Pool, seed: u64, turns: usize, mut after: impl FnMut(usize)) {
    let (mut dice, mut buffers, mut live) = (Dice(seed), Vec::new(), 0);
    for turn in 0..turns {
        if buffers.len() < 12 && dice.below(5) < 3 {
            let most = LEAST << dice.below(4);
            let size = LEAST + dice.below(most);
            live += size.next_multiple_of(GRAIN);
            buffers.push(Buffer::new(pool, size, turn as u8));
        } else if !buffers.is_empty() {
            let buffer: Buffer = buffers.swap_remove(dice.below(buffers.len()));
            live -= buffer.1.next_multiple_of(GRAIN);
            buffer.free(pool);
        }
        after(live);
    }
    buffers.into_iter().for_each(|buffer| buffer.free(pool));
}

#[test]
fn what_is_held_never_exceeds_the_most_that_was_live() {
    let (pool, mut peak) = (Pool::new(), 0);
    live_on(&pool, 1, 2000, |live| {
        peak = peak.max(live);
        let state = pool.lock();
        state.check();
        assert_eq!((state.live, state.peak), (live, peak));
    });
    assert_eq!(pool.lock().live, 0);
    assert!(pool.lock().sum > 0, "something is kept");
    pool.trim();
    assert_eq!(kept(&pool), (0, 0));
    assert_eq!(pool.lock().peak, 0);
}

#[test]
fn threads_share_it_and_no_buffer_is_given_out_twice() {
    let pool = Pool::new();
    std::thread::scope(|scope| {
        for seed in 2..6 {
            let pool = &pool;
            scope.spawn(move || live_on(pool, seed, 400, |_| pool.lock().check()));
        }
    });
    pool.lock().check();
    assert_eq!(pool.lock().live, 0);
    pool.trim();
}

#[test]
fn a_freed_buffer_is_found_again_and_its_neighbours_join() {
    let pool = Pool::new();
    let whole = Buffer::new(&pool, 8 << 20, 1);
    let start = whole.0;
    whole.free(&pool);
    let parts = [2, 3, 3].map(|size| Buffer::new(&pool, size << 20, size as u8));
    assert_eq!(parts[0].0, start, "cut from the front");
    assert_eq!(kept(&pool), (0, 0));
    let [a, b, c] = parts;
    for part in [a, c, b] {
        part.free(&pool);
    }
    assert_eq!(kept(&pool), (8 << 20, 1));
    let again = Buffer::new(&pool, 8 << 20, 2);
    assert_eq!(again.0, start);
    again.free(&pool);
    pool.trim();
}

#[test]
fn zeroed_memory_is_zero_whether_new_or_used() {
    let (pool, size) = (Pool::new(), (3 << 20) + 5);
    for _ in 0..2 {
        let at = pool.alloc_zeroed(size);
        // SAFETY: it was given out for `size` bytes, and is freed once.
        unsafe {
            assert!(
                std::slice::from_raw_parts(at, size)
                    .iter()
                    .all(|byte| *byte == 0)
            );
            at.write_bytes(9, size);
            pool.dealloc(at, size);
        }
    }
    pool.trim();
}

#[test]
fn a_buffer_shrinks_where_it_is_and_grows_into_what_it_left() {
    let (pool, mib) = (Pool::new(), 1 << 20);
    let at = Buffer::new(&pool, 8 * mib, 7).0;
    // SAFETY: the buffer is resized and freed with the size that it has each time.
    unsafe {
        assert!(pool.resize(at, 8 * mib, 2 * mib));
        pool.lock().check();
        assert!(pool.resize(at, 2 * mib, 6 * mib));
        assert!(!pool.resize(at, 6 * mib, 9 * mib), "only two are behind it");
        pool.lock().check();
        assert_eq!(pool.lock().live, 6 * mib);
        assert_eq!(kept(&pool), (2 * mib, 1));
        pool.dealloc(at, 6 * mib);
    }
    pool.trim();
}

#[test]
fn too_much_is_null_and_changes_nothing_that_is_live() {
    let pool = Pool::new();
    let buffer = Buffer::new(&pool, 2 << 20, 4);
    Buffer::new(&pool, 3 << 20, 5).free(&pool);
    for size in [isize::MAX as usize, 1 << 60] {
        assert!(pool.alloc(size).is_null() && pool.alloc_zeroed(size).is_null());
    }
    assert_eq!(pool.lock().live, 2 << 20);
    pool.lock().check();
    buffer.free(&pool);
    pool.trim();
}

#[test]
fn a_full_table_drops_the_oldest() {
    let pool = Pool::new();
    // Every second one stays, so that the others cannot join.
    let mut buffers: Vec<Buffer> = Vec::new();
    let whole = pool.alloc((2 * RANGES + 20) << 20);
    // SAFETY: given out with this size; nothing was written.
    unsafe { pool.dealloc(whole, (2 * RANGES + 20) << 20) };
    buffers.extend((0..2 * RANGES + 20).map(|_| Buffer(pool.alloc(LEAST), LEAST, 0)));
    for (i, Buffer(at, size, _)) in buffers.iter().enumerate() {
        if i % 2 == 0 {
            // SAFETY: each is freed once.
            unsafe { pool.dealloc(*at, *size) };
        }
    }
    assert_eq!(pool.lock().count, RANGES);
    pool.lock().check();
    for Buffer(at, size, _) in buffers.into_iter().skip(1).step_by(2) {
        // SAFETY: as above.
        unsafe { pool.dealloc(at, size) };
    }
    pool.lock().check();
    pool.trim();
}
