//! What tests of several rooms share. A development dependency only.

pub mod clock;
pub mod logs;
pub mod postgres;
pub mod rng;
