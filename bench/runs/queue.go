package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keyward/keyward/bench/lab"
)

// queue measures runs that nobody waits for: how fast they are queued while the
// agent answers none, how fast they are taken up when it does, and what the server
// needs of memory meanwhile.
func (b *bench) queue(ctx context.Context) error {
	var queueing, taking lab.Series
	var before, waiting, highest, after lab.Series
	const rounds = 3
	for round := range rounds {
		err := b.served(ctx, []string{b.binary, "serve"}, b.newFolder(), "", nil, func(s *lab.Server, o *owner) error {
			q, err := b.waitAndTakeUp(s, o, true)
			queueing, taking = append(queueing, q.queued), append(taking, q.done)
			before, waiting, highest, after = append(before, q.before), append(waiting, q.waiting), append(highest, q.highest), append(after, q.after)
			return err
		})
		if err != nil {
			return err
		}
		lab.Say("queue, round %d of %d: %.0f queued and %.0f taken up a second, %.1f MB, then at most %.1f", round+1, rounds, queueing[round], taking[round], waiting[round], highest[round])
	}
	fmt.Printf("\n%d runs that nobody waits for, on SQLite, with an auth profile, from %d clients:\n\n", b.queued, manyClients)
	fmt.Println("| | rounds | median | |")
	fmt.Println("| --- | --- | --: | --- |")
	fmt.Printf("| queued a second, while the agent answers none | %s | %.0f | |\n", queueing.List("%.0f"), queueing.Median())
	fmt.Printf("| taken up and ended a second, when it does | %s | %.0f | |\n", taking.List("%.0f"), taking.Median())
	fmt.Printf("| MB before the first is queued | %s | %.1f | |\n", before.List("%.1f"), before.Median())
	fmt.Printf("| MB when all wait | %s | %.1f | |\n", waiting.List("%.1f"), waiting.Median())
	fmt.Printf("| MB at most while they are taken up | %s | %.1f | %s |\n", highest.List("%.1f"), highest.Median(), verdict(highest.Median() <= waiting.Median()*1.15))
	fmt.Printf("| MB after the last | %s | %.1f | |\n", after.List("%.1f"), after.Median())
	return nil
}

// drained is what came of a queue.
type drained struct {
	queued, done                    float64 // a second
	before, waiting, highest, after float64 // MB
}

// waitAndTakeUp queues runs while the agent answers none, and then lets it.
func (b *bench) waitAndTakeUp(s *lab.Server, o *owner, settled bool) (q drained, err error) {
	memory := s.ResidentMemory
	if settled {
		memory = s.SettledMemory
	}
	// Everything is met once, so that what is measured is the queue alone.
	if _, err := load(s.Address, manyClients, warm, o.request(true, true), queued); err != nil {
		return q, err
	}
	b.awaitCalm()
	if q.before, err = memory(); err != nil {
		return q, err
	}
	done := b.agent.runs.Load()
	letGo := b.agent.hold()
	defer letGo()
	m, err := load(s.Address, manyClients, b.queued, o.request(true, true), queued)
	if err != nil {
		return q, err
	}
	q.queued = m.perSecond
	if q.waiting, err = memory(); err != nil {
		return q, err
	}
	began := time.Now()
	letGo()
	for b.agent.runs.Load() < done+int64(b.queued) {
		now, err := s.ResidentMemory()
		if err != nil {
			return q, err
		}
		q.highest = max(q.highest, now)
		if time.Since(began) > 10*lab.Patience {
			return q, fmt.Errorf("of %d runs that waited only %d were done in %v", b.queued, b.agent.runs.Load()-done, time.Since(began))
		}
		time.Sleep(10 * time.Millisecond)
	}
	q.done = float64(b.queued) / time.Since(began).Seconds()
	q.after, err = memory()
	return q, err
}

// awaitCalm returns when the agent has got no run for a second.
func (b *bench) awaitCalm() {
	for last, since := b.agent.runs.Load(), time.Now(); time.Since(since) < time.Second; time.Sleep(10 * time.Millisecond) {
		if now := b.agent.runs.Load(); now != last {
			last, since = now, time.Now()
		}
	}
}
