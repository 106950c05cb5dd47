"""A matcher of pictures and texts: ITC and ITM heads on any model the host loads, or on BLIP-2's Q-Former (LSKD's students)."""
