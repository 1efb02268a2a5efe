//! Disks that can lose power: ext4 in a file, mounted over a loop device.
//!
//! The cut is ext4's own: the going-down ioctl without a flush of its journal. From that moment nothing reaches the
//! disk; what was not durable before is gone, as the next mount shows after it replayed the journal.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::ioctl::{Setter, ioctl};
use rustix::process::geteuid;

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`.
const GOING_DOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the journal is not flushed first.
const NO_LOG_FLUSH: u32 = 2;
/// Size of an image; sparse, so that only what is written takes room.
const IMAGE_BYTES: u64 = 4 << 30;
/// How long an unmount is tried while a killed process lets go.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(20);

/// One image and its mount point. Dropping it unmounts and removes both.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount_point: PathBuf,
    mounted: bool,
}

impl LoopDisk {
    /// Why this machine cannot do it, or `None` if it can: tried out, not guessed.
    pub fn unavailable(dir: &Path) -> Option<String> {
        if !geteuid().is_root() {
            return Some("not root: loop mounts are impossible".to_owned());
        }
        let mut disk = match Self::create(dir, "probe") {
            Ok(disk) => disk,
            Err(error) => return Some(format!("no ext4 loop mount: {error:#}")),
        };
        let cut = disk.power_cut().and_then(|()| disk.unmount()).and_then(|()| disk.mount());
        cut.err().map(|error| format!("no power cut on an ext4 loop mount: {error:#}"))
    }

    /// Makes `DIR/NAME.img`, formats it and mounts it at `DIR/NAME`.
    ///
    /// # Errors
    /// When a tool is missing or refuses.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        let (image, mount_point) = (dir.join(format!("{name}.img")), dir.join(name));
        File::create_new(&image)?.set_len(IMAGE_BYTES)?;
        fs::create_dir(&mount_point)?;
        let mut disk = Self { image, mount_point, mounted: false };
        // A small journal commits often, and lazy initialisation would write behind our back.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// From now on nothing written reaches the image.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn power_cut(&self) -> Result<()> {
        let root = File::open(&self.mount_point)?;
        #[expect(unsafe_code, reason = "the kernel offers the power cut only as an ioctl")]
        // SAFETY: the opcode reads one u32, which the setter holds.
        unsafe {
            ioctl(&root, Setter::<GOING_DOWN, u32>::new(NO_LOG_FLUSH)).context("the going-down ioctl")
        }
    }

    /// Unmounts; tried again while something still holds the mount.
    ///
    /// # Errors
    /// When it is still held after 20 s.
    pub fn unmount(&mut self) -> Result<()> {
        let until = Instant::now() + UNMOUNT_WITHIN;
        while self.mounted {
            match run(Command::new("umount").arg(&self.mount_point)) {
                Ok(()) => self.mounted = false,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok(())
    }

    /// Mounts again, replaying the journal.
    ///
    /// # Errors
    /// When the file system cannot be mounted.
    pub fn mount(&mut self) -> Result<()> {
        if !self.mounted {
            run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount_point))?;
            self.mounted = true;
        }
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let still_mounted = self.unmount().is_err();
        if still_mounted {
            // Rather a lazily detached mount than one that outlives the run.
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount_point));
        }
        let _ = fs::remove_dir(&self.mount_point);
        let _ = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = format!("{:?}", command.get_program());
    let output = command.output().with_context(|| format!("running {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Shows that the cut is one: synced data stays, unsynced data goes. Says nothing where loop mounts are impossible.
    #[test]
    fn a_cut_keeps_what_was_synced_and_loses_what_was_not() {
        let dir = tempfile::tempdir().unwrap();
        if LoopDisk::unavailable(dir.path()).is_some() {
            return;
        }
        let mut disk = LoopDisk::create(dir.path(), "disk").unwrap();
        let (synced, unsynced) = (disk.path().join("synced"), disk.path().join("unsynced"));
        let mut file = File::create(&synced).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_all().unwrap();
        fs::write(&unsynced, b"lost").unwrap();
        disk.power_cut().unwrap();
        assert!(fs::write(disk.path().join("later"), b"refused").is_err());
        drop(file);
        disk.unmount().unwrap();
        disk.mount().unwrap();
        assert_eq!(fs::read(&synced).unwrap(), b"kept");
        assert!(fs::read(&unsynced).map_or(true, |bytes| bytes.is_empty()));
    }
}
