"""The coalition in a browser. Speaks gRPC only, through `contributors.client`; opens no database."""
