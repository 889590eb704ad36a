//! A disk without room.

use std::fs;

use super::Arena;

impl Arena {
    pub(super) async fn full_disk(&mut self) -> bool {
        let Some((id, disk)) = &self.disk else {
            return false;
        };
        let id = *id;
        if !self.ids().contains(&id) {
            return false;
        }
        let filler = disk.fill();
        self.hold().await;
        self.kill(id);
        if let Err(error) = fs::remove_file(&filler) {
            self.run
                .violation(format!("cannot free the disk of node {id}: {error}"));
        }
        true
    }
}
