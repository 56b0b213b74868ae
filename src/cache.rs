//! `ldm-graph cache`: looks after the folder of kept results.

use std::io;
use std::path::Path;

use ldm_engine::{Count, Disk, Swept};
use ldm_nodes::prepare;

use crate::Exit;
use crate::args::{CacheAction, CacheArgs};
use crate::explain::size;
use crate::settings::Store;
use crate::terminal::Terminal;

/// Does what was asked for with the cache folder.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn cache(args: &CacheArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let store = Store::of(&args.store);
    let (Some(disk), Some(kernels)) = (store.disk(), store.kernels()) else {
        terminal.error(
            "this system has no folder for caches",
            Some("pass `--cache DIR`"),
        );
        return Ok(Exit::Misused);
    };
    let told = match args.action {
        CacheAction::Stat => stat(&disk, &kernels),
        CacheAction::Verify => verify(&disk, terminal),
        CacheAction::Gc => disk.gc().map(|swept| (done(&swept), swept.damaged)),
        CacheAction::Clear => clear(&disk, &kernels),
    };
    match told {
        Ok((told, damaged)) => {
            terminal.print(&told)?;
            for entry in &damaged {
                terminal.say(&format!("{entry} was damaged; it was removed"));
            }
            Ok(Exit::Done)
        }
        Err(error) => {
            terminal.error(
                &format!("cannot read {}: {error}", disk.root().display()),
                None,
            );
            Ok(Exit::Failed)
        }
    }
}

fn stat(disk: &Disk, kernels: &Path) -> io::Result<(String, Vec<String>)> {
    let stat = disk.stat()?;
    let kernels = prepare::files(kernels)?;
    let line = |name: &str, Count { entries, bytes }| {
        format!("{name:9} {entries:>9}  {:>10}\n", size(bytes))
    };
    let mut told = format!("{}\n", disk.root().display());
    told.push_str(&line("objects", stat.objects));
    told.push_str(&line("actions", stat.actions));
    told.push_str(&line("files", stat.files));
    told.push_str(&line("plans", stat.plans));
    if stat.temporary.entries > 0 {
        told.push_str(&line("unfinished", stat.temporary));
    }
    let all = [stat.objects, stat.actions, stat.files, stat.plans];
    let bytes = all.iter().map(|count| count.bytes).sum();
    let budget = size(disk.budget());
    told.push_str(&format!("{} of {budget}\n", size(bytes)));
    if !kernels.is_empty() {
        let bytes = kernels.iter().map(|(_, bytes)| bytes).sum();
        told.push_str(&format!("{} of a GPU's kernels besides\n", size(bytes)));
    }
    if stat.strange > 0 {
        told.push_str(&format!(
            "{} files there are not the cache's\n",
            stat.strange
        ));
    }
    Ok((told, Vec::new()))
}

fn clear(disk: &Disk, kernels: &Path) -> io::Result<(String, Vec<String>)> {
    let swept = disk.clear()?;
    let mut freed = swept.freed;
    for (file, bytes) in prepare::files(kernels)? {
        std::fs::remove_file(file)?;
        freed += bytes;
    }
    let told = format!("removed {} entries, {}\n", swept.evicted, size(freed));
    Ok((told, Vec::new()))
}

fn verify(disk: &Disk, terminal: &Terminal) -> io::Result<(String, Vec<String>)> {
    let swept = disk.verify(&mut |done, all| {
        if done > 0 && done % 10_000 == 0 {
            terminal.say(&format!("{done} of {all} entries"));
        }
        true
    })?;
    Ok((done(&swept), swept.damaged))
}

/// What a sweep did, leaving out what there was none of.
fn done(swept: &Swept) -> String {
    let counts = [
        (swept.damaged.len(), "damaged"),
        (swept.old, "of an older program"),
        (swept.temporary, "half-written"),
        (swept.evicted, "over the size"),
    ];
    let removed = counts.iter().filter(|(count, _)| *count > 0);
    let removed: Vec<String> = removed
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let whole = swept.whole;
    match removed.is_empty() {
        true => format!("{whole} entries are whole; nothing to remove\n"),
        false => format!(
            "{whole} entries are whole; removed {}, {}\n",
            removed.join(", "),
            size(swept.freed)
        ),
    }
}
