//! What a cluster does when nodes come and go, crash, lose their disks or fill them.

mod addresses;
mod crash;
mod damage;
mod data_dirs;
mod full_disk;
mod interrupted;
mod join;
mod leadership;
mod partition;
mod quorum;
mod removal;
mod restart;
mod rolling;
mod shutdown;
mod snapshots;
mod start;
mod wiped;
