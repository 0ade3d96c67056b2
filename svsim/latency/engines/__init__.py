"""What real engines add to bare passes: profiles as data, and the latency model that prices with one."""
