"""Where people log: functions for `--callbacks` that send settings, curves, table and files to a tracker."""
