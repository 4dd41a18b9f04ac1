"""The contract's two ends on the wire: channels, enrolment, blobs, and errors that mean the same on both sides."""
