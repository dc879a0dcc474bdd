package folder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// Lock takes the folder for this process until Close or its end, however it
// ends. When another process has it, the error says which. With the lock it
// sweeps away the files that a writer who was cut off has left.
func (f *Folder) Lock() error {
	file, err := os.OpenFile(f.at(lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return f.taken(file)
		}
		return fmt.Errorf("lock the data folder: %w", err)
	}
	f.lock = file
	if err := f.Announce(""); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.sweep(); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// taken says who has the lock, as far as its file tells.
func (f *Folder) taken(file *os.File) error {
	text, _ := io.ReadAll(io.LimitReader(file, 1024))
	who := "another keyward"
	if pid, address, _ := strings.Cut(strings.TrimSpace(string(text)), " "); pid != "" {
		who += " (pid " + pid
		if address != "" {
			who += ", " + address
		}
		who += ")"
	}
	return fmt.Errorf("%s is using the data folder %s: stop it, or choose another folder with --data", who, f.path)
}

// Announce tells those who find the folder locked where its server listens.
func (f *Folder) Announce(address string) error {
	if err := f.held(); err != nil {
		return err
	}
	// In place, since the lock is on this file and not on its name.
	line := strings.TrimSpace(fmt.Sprintf("%d %s", os.Getpid(), address)) + "\n"
	if err := f.lock.Truncate(0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	if _, err := f.lock.WriteAt([]byte(line), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

// Close gives the lock back. The file stays: to take it away would let two
// others lock two files of that name.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	lock := f.lock
	f.lock = nil
	return errors.Join(lock.Truncate(0), lock.Close())
}

func (f *Folder) held() error {
	if f.lock == nil {
		return errors.New("data folder: nobody writes in it without its lock")
	}
	return nil
}
