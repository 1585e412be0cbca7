//! What the operator sees: colours, tables, questions, and a terminal or a pipe to see them on.

pub mod input;
pub mod prompt;
pub mod screen;
pub mod style;
pub mod table;
pub mod time;

pub use input::PassphrasePrompt;
pub use prompt::{Answer, PromptError};
pub use screen::Screen;
