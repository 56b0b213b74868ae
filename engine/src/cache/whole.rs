//! Reading and writing whole entries: large ones are hashed while the disk is busy with them.

use std::io::{self, Read, SeekFrom};
use std::sync::mpsc::channel;
use std::thread;

use super::door::{Reading, Writing};
use super::entry::{HEAD, Head, Sort, Unfit};
use crate::value::{Hasher, Identity};

/// Pieces in which a large body is read and hashed.
const PIECE: usize = 4 << 20;

/// The first line of an entry, or why it is none.
pub(super) fn head(sort: Sort, file: &mut dyn Reading) -> io::Result<Result<Head, Unfit>> {
    let mut line = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut line)?;
    Ok(Head::read(sort, &line))
}

/// An entry and its bytes, or why it is none. No more is read, and no more memory asked for,
/// than the file has.
pub(super) fn read(
    sort: Sort,
    name: &Identity,
    file: &mut dyn Reading,
) -> io::Result<Result<(Head, Vec<u8>), Unfit>> {
    let length = file.look()?.bytes;
    let head = match head(sort, file)? {
        Ok(head) => head,
        Err(unfit) => return Ok(Err(unfit)),
    };
    if length != head.bytes.saturating_add(HEAD as u64) {
        return Ok(Err(Unfit::Damaged));
    }
    let Ok(bytes) = usize::try_from(head.bytes) else {
        return Ok(Err(Unfit::Damaged));
    };
    let mut body = vec![0; bytes];
    let mut sum = head.summing(sort, name);
    match fill(&mut body, file, &mut sum) {
        Ok(()) if sum.finish() == head.sum => Ok(Ok((head, body))),
        // The file was cut after its length was asked for.
        Ok(()) => Ok(Err(Unfit::Damaged)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(Unfit::Damaged)),
        Err(error) => Err(error),
    }
}

/// Reads `body`, hashing each piece while the next is read.
fn fill(body: &mut [u8], file: &mut dyn Reading, sum: &mut Hasher) -> io::Result<()> {
    if body.len() <= PIECE {
        file.read_exact(body)?;
        sum.more(body);
        return Ok(());
    }
    thread::scope(|scope| {
        let (read, pieces) = channel::<&[u8]>();
        scope.spawn(move || pieces.into_iter().for_each(|piece| sum.more(piece)));
        for piece in body.chunks_mut(PIECE) {
            file.read_exact(piece)?;
            // The hasher listens until `read` is dropped.
            let _ = read.send(piece);
        }
        Ok(())
    })
}

/// Writes an entry, hashing its bytes while they are written; when `lasting`, the disk has it
/// when this returns.
pub(super) fn write(
    sort: Sort,
    name: &Identity,
    mut head: Head,
    body: &[u8],
    file: &mut dyn Writing,
    lasting: bool,
) -> io::Result<()> {
    let mut sum = head.summing(sort, name);
    let written = thread::scope(|scope| {
        if body.len() > PIECE {
            scope.spawn(|| sum.more(body));
        } else {
            sum.more(body);
        }
        file.seek(SeekFrom::Start(HEAD as u64))?;
        file.write_all(body)
    });
    written?;
    head.sum = sum.finish();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head.line(sort))?;
    file.flush()?;
    match lasting {
        true => file.sync(),
        false => Ok(()),
    }
}
