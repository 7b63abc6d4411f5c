"""What happens: the stream agents, and the pure decisions behind them."""
