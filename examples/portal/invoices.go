package portal

import (
	"fmt"
	"hash/fnv"
	"io"
)

// Invoice is one line of the page, and of /invoices.json.
type Invoice struct {
	Number      string `json:"number"`
	Date        string `json:"date"`
	Description string `json:"description"`
	Total       string `json:"total"`
	Currency    string `json:"currency"`
	Status      string `json:"status"` // paid or open
}

var deliveries = []struct{ date, description string }{
	{"2026-06-30", "Rope and rigging, June"},
	{"2026-05-29", "Copper fittings"},
	{"2026-04-30", "Deck paint, 40 litres"},
	{"2026-03-31", "Storage, first quarter"},
	{"2026-02-27", "Chain, 12 mm, 60 m"},
	{"2026-01-30", "Mooring lines"},
}

// invoicesOf is the same list for the same user every time, and another for
// another user.
func invoicesOf(user string) []Invoice {
	h := fnv.New32a()
	io.WriteString(h, user)
	seed := h.Sum32()

	var list []Invoice
	for i, d := range deliveries {
		in := Invoice{
			Number:      fmt.Sprintf("HS-%05d-%02d", seed%100_000, len(deliveries)-i),
			Date:        d.date,
			Description: d.description,
			Total:       euros(4_000 + seed>>(4*i)%90_000),
			Currency:    "EUR",
			Status:      "paid",
		}
		if i < 2 {
			in.Status = "open"
		}
		list = append(list, in)
	}
	return list
}

// due is how many invoices are open, in words.
func due(list []Invoice) string {
	open := 0
	for _, in := range list {
		if in.Status == "open" {
			open++
		}
	}
	return fmt.Sprintf("%d invoices, %d open", len(list), open)
}

func euros(cents uint32) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// print writes the invoice as a file to keep.
func (in Invoice) print(w io.Writer, user string) {
	fmt.Fprintf(w, `HARBOUR SUPPLY

Invoice   %s
Date      %s
Customer  %s

%-40s %12s
%-40s %12s

Status    %s
`, in.Number, in.Date, user, "Description", "Amount", in.Description, in.Total+" "+in.Currency, in.Status)
}
