//! Settings as an operator meets them: read, shown, refused.

mod precedence;
mod refusals;
mod said;
mod schema;
