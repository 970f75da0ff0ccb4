//! Several servers on one PostgreSQL.

mod faults;
mod load;
mod proxy;
mod races;
mod rig;
mod rounds;
mod truth;
mod verdict;
