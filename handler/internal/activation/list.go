package activation

import (
	"context"

	"latchkey/handler/internal/commit"
	"latchkey/handler/internal/subject"
)

// scan is how many rows List reads in one trip.
const scan = 100

// List gives up to limit activations of a subject with the status ("" for all), newest first, beginning behind after (zero: at the
// newest). more is the last one's id if there may be others behind it, else zero. A subject that nobody knows has none.
func (s *Service) List(ctx context.Context, of subject.ID, status Status, after UUID, limit int) (page []Activation, more UUID, err error) {
	ctx, cancel := commit.Bounded(ctx)
	defer cancel()
	now := s.clock.Now()
	for {
		rows, err := s.store.Activations(ctx, of, after, scan)
		if err != nil {
			return nil, UUID{}, commit.Unavailable(err)
		}
		for _, row := range rows {
			if row = row.At(now); status != "" && row.Status != status {
				continue
			}
			if len(page) == limit {
				return page, page[limit-1].ID, nil
			}
			page = append(page, row)
		}
		if len(rows) < scan {
			return page, UUID{}, nil
		}
		after = rows[len(rows)-1].ID
	}
}
