"""A municipal site of the demo: rooms of the city's hall are booked by whoever signs in with My Portal; the city is not told who."""
