"""Alerts: rules over what the tables show, evaluated with every turn. Pure: no clock, no I/O, no randomness.

``rules`` what may be watched, and what is without being told · ``machine`` one alert's way from ok to resolved · ``sources`` what
each kind of rule looks at · ``look`` the columns of one turn · ``bounds`` which of ten thousand rows have to be judged ·
``watches`` who judges them · ``board`` the alerts that there are · ``money`` the day's equity · ``records`` what is stored and
told · ``alerts`` the whole, as the engine uses it.
"""
