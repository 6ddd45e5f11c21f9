"""The record: what both keepers, hub and commission, must do alike, and what anyone can check afterwards.

``entries`` are the leaves' contents · ``state`` is the governance state, a fold over the leaves · ``admission`` decides what may
enter and with which ruling · ``rounds`` drafts a round at the hub and fills it at the commission · ``permit`` verifies a leaf with
nothing but two public keys · ``store`` indexes the inquiries of a kept log. All but ``store`` are pure.

What always holds: nothing is disclosed without an earlier leaf that allows it; a leaf's ruling was reached twice, independently;
governance takes effect in the round after it is recorded.
"""
