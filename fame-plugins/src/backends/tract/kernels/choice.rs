//! Which algorithm a convolution gets: the one that was measured to be fastest on this machine.
