// Package confine starts programs that the kernel holds to limits of memory, CPU
// time and the size of files.
//
// Its laws:
//
//   - The limits hold before the program's first instruction, and for all that it
//     starts. None of them can be raised again from within.
//   - No core of a program is dumped: it would hold what the program was given.
//
// A limit of the kernel's holds for each process, not for all of them together;
// what a program and its children may use in sum is for a control group. On other
// systems than Linux there are no limits.
//
// A process can only limit itself, and Go can't run code of its own between fork
// and exec. So the child is first this very program once more, which limits
// itself and then becomes the other one.
package confine

// Limits are what each process may use. 0 is no limit.
type Limits struct {
	MemoryBytes int64 // of data: what is shared with other processes, code and reserved addresses do not count
	CPUSeconds  int64
	FileBytes   int64 // that a file may be long
}
