"""What fails a test that otherwise passes: a blocked event loop, a task left running, a coroutine nobody awaited."""
