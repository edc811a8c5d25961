//! Module
