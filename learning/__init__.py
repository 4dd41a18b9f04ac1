"""Models and training mathematics: pure functions over tensors. No gRPC, no SQL, no clock, no network, no pickle."""
