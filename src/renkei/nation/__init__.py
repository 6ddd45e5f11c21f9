"""A whole nation on one machine: the demo, the smoke test, the load generator.

``plan`` lays out homes, keys and genesis from a pack · ``population`` invents residents · ``sources`` fills the bodies' databases ·
``world`` starts and stops it all, in one process or one per role · ``day`` asks a day's worth of inquiries · ``demo`` is what people run.
Everything it writes is under one folder; starting it again takes up where it stopped.
"""
