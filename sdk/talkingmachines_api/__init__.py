"""Generated protobuf and gRPC stubs; source in protos/."""
