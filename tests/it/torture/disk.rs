//! A disk that can fail: an SQLite VFS (file layer) through which every write and sync passes.
//! At a power cut, data that was not synced is lost, completely or in part.

#![allow(unsafe_code, reason = "SQLite's file layer is an interface of C, and this stands in the middle of it")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rusqlite::ffi;

use super::Dice;

/// How the disk handles writes and syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They succeed.
    None,
    /// The power is off: all fail.
    PowerOff,
    /// The disk is full: writes beyond the end of a file fail, others succeed.
    Full,
    /// After this many calls, this many fail; then all succeed again.
    Fail { after: u64, times: u64 },
}

/// A file as it was synced, and the writes since.
#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    pending: Vec<Pending>,
    size: u64,
}

enum Pending {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

struct State {
    files: HashMap<PathBuf, Image>,
    fault: Fault,
    calls: u64,
}

/// The disk, registered at SQLite under a name.
pub struct Disk {
    pub name: String,
    state: Mutex<State>,
}

/// Our part of an open file, in memory behind SQLite's part.
struct Handle {
    disk: Arc<Disk>,
    path: PathBuf,
    /// SQLite's own functions for this kind of file.
    own: ffi::sqlite3_io_methods,
    /// The same, with some functions replaced by ours.
    methods: ffi::sqlite3_io_methods,
}

/// The VFS that is registered, with the data that its functions need.
#[repr(C)]
struct Layer {
    base: ffi::sqlite3_vfs,
    disk: Arc<Disk>,
}

/// SQLite's default VFS, and the size of its part of a file.
struct Original {
    layer: *mut ffi::sqlite3_vfs,
    file_size: usize,
}

// SAFETY: SQLite's layers are made once, never change, and are used from all threads.
unsafe impl Send for Original {}
// SAFETY: as above.
unsafe impl Sync for Original {}

static ORIGINAL: OnceLock<Original> = OnceLock::new();

fn original() -> &'static Original {
    ORIGINAL.get_or_init(|| {
        // SAFETY: SQLite hands out its default layer, which lives as long as the process.
        let layer = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        // SAFETY: it is there, since SQLite is compiled in with its unix layer.
        let file_size = unsafe { (*layer).szOsFile } as usize;
        Original { layer, file_size: file_size.next_multiple_of(align_of::<*mut Handle>()) }
    })
}

impl Disk {
    /// Registers a disk without faults under a new name.
    pub fn new() -> Arc<Self> {
        let name = format!("disk-{}", uuid::Uuid::new_v4());
        let state = Mutex::new(State { files: HashMap::new(), fault: Fault::None, calls: 0 });
        let disk = Arc::new(Self { name: name.clone(), state });
        // SAFETY: a plain structure of numbers and pointers to functions.
        let mut base = unsafe { *original().layer };
        base.szOsFile = (original().file_size + size_of::<*mut Handle>()) as c_int;
        base.zName = CString::new(name).expect("no zero in it").into_raw();
        base.pNext = std::ptr::null_mut();
        base.xOpen = Some(open);
        base.xDelete = Some(delete);
        // Never freed: SQLite may read its list of VFSs at any time.
        let layer = Box::into_raw(Box::new(Layer { base, disk: disk.clone() }));
        // SAFETY: it begins with what SQLite expects, and stays where it is.
        let registered = unsafe { ffi::sqlite3_vfs_register(layer.cast(), 0) };
        assert_eq!(registered, ffi::SQLITE_OK);
        disk
    }

    /// Sets the fault.
    pub fn set(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.calls = 0;
    }

    /// Writes and syncs since the fault was set.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// The power comes back: the files contain all synced data, and a random part of the rest,
    /// in any order and torn at sectors. To be called after SQLite has closed them.
    pub fn restore(&self, dice: &mut Dice) {
        let mut state = self.state.lock();
        for (path, image) in &mut state.files {
            let lucky = dice.below(3);
            for pending in std::mem::take(&mut image.pending) {
                match pending {
                    Pending::Write(at, bytes) => {
                        for (index, sector) in bytes.chunks(512).enumerate() {
                            if lucky == 1 || (lucky == 2 && dice.below(2) == 0) {
                                put(&mut image.durable, at + index as u64 * 512, sector);
                            }
                        }
                    }
                    Pending::Truncate(size) if lucky > 0 => image.durable.truncate(size as usize),
                    Pending::Truncate(_) => {}
                }
            }
            image.size = image.durable.len() as u64;
            std::fs::write(path, &image.durable).expect("the platters are real files");
            let shared = PathBuf::from(format!("{}-shm", path.display()));
            let _ = std::fs::remove_file(shared);
        }
        state.fault = Fault::None;
    }

    /// The error code of a call, if it fails.
    fn refuses(&self, grows: bool, code: c_int) -> Option<c_int> {
        let mut state = self.state.lock();
        state.calls += 1;
        match state.fault {
            Fault::None => None,
            Fault::PowerOff => Some(code),
            Fault::Full => grows.then_some(ffi::SQLITE_FULL),
            Fault::Fail { after, times } => (after..after + times).contains(&(state.calls - 1)).then_some(code),
        }
    }

    fn with<T>(&self, path: &Path, work: impl FnOnce(&mut Image) -> T) -> T {
        work(self.state.lock().files.entry(path.to_owned()).or_default())
    }
}

fn put(file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (from, to) = (at as usize, at as usize + bytes.len());
    if file.len() < to {
        file.resize(to, 0);
    }
    file[from..to].copy_from_slice(bytes);
}

/// The place of the pointer to our part of a file.
fn slot(file: *mut ffi::sqlite3_file) -> *mut *mut Handle {
    file.cast::<u8>().wrapping_add(original().file_size).cast()
}

fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    // SAFETY: only files that `open` has given a handle get our functions, and SQLite uses
    // a file from one thread at a time and not after closing it.
    unsafe { &**slot(file) }
}

unsafe extern "C" fn open(
    layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let original = original();
    // SAFETY: the arguments are SQLite's own, passed on to its own layer.
    let code = unsafe { (*original.layer).xOpen.expect("it opens")(original.layer, name, file, flags, out) };
    let kept = flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
    if code != ffi::SQLITE_OK || !kept || name.is_null() {
        return code;
    }
    // SAFETY: SQLite's layer has just set it, and `name` is a text that ends with zero.
    let (own, name) = unsafe { (*(*file).pMethods, CStr::from_ptr(name)) };
    let methods = ffi::sqlite3_io_methods {
        iVersion: own.iVersion.min(2),
        xClose: Some(close),
        xWrite: Some(write),
        xTruncate: Some(truncate),
        xSync: Some(sync),
        ..own
    };
    let path = PathBuf::from(name.to_string_lossy().into_owned());
    // SAFETY: SQLite calls with the layer that was registered, which begins a `Layer`.
    let disk = unsafe { (*layer.cast::<Layer>()).disk.clone() };
    disk.state.lock().files.entry(path.clone()).or_insert_with(|| {
        let durable = std::fs::read(&path).unwrap_or_default();
        Image { size: durable.len() as u64, durable, pending: Vec::new() }
    });
    let handle = Box::into_raw(Box::new(Handle { disk, path, own, methods }));
    // SAFETY: SQLite has made room for the file's size that the layer told.
    unsafe {
        slot(file).write(handle);
        (*file).pMethods = &raw const (*handle).methods;
    }
    code
}

unsafe extern "C" fn delete(layer: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: as in `open`.
    let (disk, text) = unsafe { (&(*layer.cast::<Layer>()).disk, CStr::from_ptr(name)) };
    if let Some(code) = disk.refuses(false, ffi::SQLITE_IOERR_DELETE) {
        return code;
    }
    disk.state.lock().files.remove(Path::new(&*text.to_string_lossy()));
    let original = original();
    // SAFETY: the arguments are SQLite's own, passed on to its own layer.
    unsafe { (*original.layer).xDelete.expect("it deletes")(original.layer, name, sync) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` has put it there, and SQLite closes a file once.
    let handle = unsafe { Box::from_raw(slot(file).read()) };
    // SAFETY: SQLite's own function on its own file.
    unsafe { handle.own.xClose.expect("it closes")(file) }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, at: i64) -> c_int {
    let Handle { disk, path, own, .. } = handle(file);
    let end = at as u64 + count as u64;
    let grows = disk.with(path, |image| end > image.size);
    if let Some(code) = disk.refuses(grows, ffi::SQLITE_IOERR_WRITE) {
        return code;
    }
    // SAFETY: SQLite's own function on its own file, with its own arguments.
    let code = unsafe { own.xWrite.expect("it writes")(file, bytes, count, at) };
    if code == ffi::SQLITE_OK {
        // SAFETY: SQLite gives as many bytes as it says.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count as usize) }.to_vec();
        disk.with(path, |image| {
            image.size = image.size.max(end);
            image.pending.push(Pending::Write(at as u64, bytes));
        });
    }
    code
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let Handle { disk, path, own, .. } = handle(file);
    if let Some(code) = disk.refuses(false, ffi::SQLITE_IOERR_TRUNCATE) {
        return code;
    }
    disk.with(path, |image| {
        image.size = size as u64;
        image.pending.push(Pending::Truncate(size as u64));
    });
    // SAFETY: SQLite's own function on its own file.
    unsafe { own.xTruncate.expect("it truncates")(file, size) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let Handle { disk, path, .. } = handle(file);
    if let Some(code) = disk.refuses(false, ffi::SQLITE_IOERR_FSYNC) {
        return code;
    }
    disk.with(path, |image| {
        for pending in std::mem::take(&mut image.pending) {
            match pending {
                Pending::Write(at, bytes) => put(&mut image.durable, at, &bytes),
                Pending::Truncate(size) => image.durable.truncate(size as usize),
            }
        }
    });
    // The synced data is kept in memory, so the real files need no sync.
    ffi::SQLITE_OK
}
