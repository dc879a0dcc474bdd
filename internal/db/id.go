package db

import "github.com/google/uuid"

// NewID makes an id that is used nowhere else: a UUID of version 7 (RFC 9562),
// so that rows made later come later in an index.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
