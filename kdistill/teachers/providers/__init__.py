"""The kinds of teachers: functions, services, tables and model files."""
