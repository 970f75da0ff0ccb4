//! Several servers on one PostgreSQL.

mod races;
