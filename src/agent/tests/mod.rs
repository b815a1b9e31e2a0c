//! The agent against real servers that fail, lie, stay silent and change their mind.

mod budget;
mod joining;
mod walking;
mod world;
