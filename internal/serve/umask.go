package serve

import "syscall"

// tightenUmask has every file that this process makes closed to others.
func tightenUmask() { syscall.Umask(0o077) }
