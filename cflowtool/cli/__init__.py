"""The shell: one file a command, the shared options in options.py, messages in console.py, exit codes in main.py."""
