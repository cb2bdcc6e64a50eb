//! Which driver a device number belongs to. Nodes are everywhere; what they open is decided here, by number.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileType};

use super::{FileOps, Inode, OpenRequest};
use crate::sync::{LockClass, RwLock};

/// A driver.
pub trait DeviceOps: Send + Sync + Debug {
    /// Opens the device whose node is `inode`.
    ///
    /// # Errors
    /// What `open(2)` gives for it: `ENXIO` if there is no such device behind the number.
    fn open(&self, inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno>;
}

/// The drivers of a sandbox. Lock class `Table`, never held while a driver is called.
#[derive(Debug)]
pub struct DeviceRegistry {
    drivers: RwLock<BTreeMap<(FileType, DeviceNumber), Arc<dyn DeviceOps>>>,
}

impl Default for DeviceRegistry {
    fn default() -> Self {
        Self { drivers: RwLock::new(LockClass::Table, BTreeMap::new()) }
    }
}

impl DeviceRegistry {
    /// Makes `driver` the one of the character or block device `number`, in place of one that was there.
    pub fn register(&self, kind: FileType, number: DeviceNumber, driver: Arc<dyn DeviceOps>) {
        let replaced = self.drivers.write().insert((kind, number), driver);
        drop(replaced);
    }

    /// The driver of a device.
    pub fn find(&self, kind: FileType, number: DeviceNumber) -> Option<Arc<dyn DeviceOps>> {
        self.drivers.read().get(&(kind, number)).cloned()
    }

    /// Opens the device `number`.
    ///
    /// # Errors
    /// `ENXIO` if it has no driver, or what the driver gives.
    pub fn open(
        &self,
        number: DeviceNumber,
        inode: &Arc<Inode>,
        request: &OpenRequest<'_>,
    ) -> Result<Box<dyn FileOps>, Errno> {
        self.find(inode.kind(), number).ok_or(Errno::ENXIO)?.open(inode, request)
    }
}
