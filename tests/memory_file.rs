//! What a memory makes of its file, and of others at it.
