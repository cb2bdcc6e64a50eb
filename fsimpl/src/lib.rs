//! The file systems of the sentry.
