// The lab's own small programs.
module zab.dev/e2e/lab/tools

go 1.25.0
