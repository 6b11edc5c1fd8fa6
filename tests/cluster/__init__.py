"""Links between agents over real sockets."""
