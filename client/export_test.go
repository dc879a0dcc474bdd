package client

// Offered returns the method and path of all operations that a Client calls, by
// their ids.
func Offered() map[string]string {
	all := map[string]string{}
	for _, o := range operations {
		all[o.id] = o.method + " " + o.path
	}
	return all
}
