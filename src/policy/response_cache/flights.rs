//! Requests under way, and the calls that wait for their answers: of equal calls one leads and the others follow.
//!
//! A flight that nobody may join any more (something was cleared since it began, or a newer one has its place) goes on for
//! those who have joined it.

use std::collections::HashMap;

use super::Port;
use super::clearing::Moment;
use super::key::Place;
use super::rules::Terms;
use crate::call::Priority;

/// One request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(u64);

/// A call that waits.
struct Follower<P> {
    port: P,
    priority: Priority,
}

/// What is known of a request under way.
pub(super) struct Flight<P> {
    pub place: Place,
    pub terms: Terms,
    /// When it began.
    pub begun: Moment,
    /// That of the call that leads.
    priority: Priority,
    /// In the order in which they came.
    followers: Vec<Follower<P>>,
}

impl<P> Flight<P> {
    /// Those who wait for its answer.
    pub(super) fn into_followers(self) -> impl Iterator<Item = P> {
        self.followers.into_iter().map(|follower| follower.port)
    }
}

/// All requests under way.
pub(super) struct Flights<P> {
    flights: HashMap<FlightId, Flight<P>>,
    /// The flight that can be joined, by the place of what it fetches.
    joinable: HashMap<Place, FlightId>,
    followers: usize,
    followers_max: usize,
    /// Flights, ever.
    begun: u64,
}

impl<P: Port> Flights<P> {
    /// None yet. So many calls may wait, all together.
    pub(super) fn new(followers_max: usize) -> Self {
        Self { flights: HashMap::new(), joinable: HashMap::new(), followers: 0, followers_max, begun: 0 }
    }

    /// Begins a flight, which takes the place of another one.
    pub(super) fn begin(
        &mut self,
        place: Place,
        terms: Terms,
        begun: Moment,
        priority: Priority,
    ) -> FlightId {
        self.begun += 1;
        let id = FlightId(self.begun);
        self.joinable.insert(place.clone(), id);
        self.flights.insert(id, Flight { place, terms, begun, priority, followers: Vec::new() });
        id
    }

    /// The flight that a call may join: a less urgent one might wait long for its turn.
    pub(super) fn joinable(&self, place: &Place, priority: Priority) -> Option<(FlightId, &Flight<P>)> {
        let id = self.joinable.get(place)?;
        self.flights.get(id).filter(|flight| flight.priority <= priority).map(|flight| (*id, flight))
    }

    /// Lets a call wait for a flight.
    ///
    /// # Errors
    /// Its port, if too many wait, or there is no such flight.
    pub(super) fn join(&mut self, id: FlightId, port: P, priority: Priority) -> Result<(), P> {
        let Some(flight) = self.flights.get_mut(&id) else { return Err(port) };
        if flight.followers.len() == flight.followers.capacity() {
            // Before it grows: those who left make room.
            let before = flight.followers.len();
            flight.followers.retain(|follower| !follower.port.is_closed());
            self.followers -= before - flight.followers.len();
        }
        if self.followers >= self.followers_max {
            return Err(port);
        }
        flight.followers.push(Follower { port, priority });
        self.followers += 1;
        Ok(())
    }

    /// A flight has its answer.
    pub(super) fn land(&mut self, id: FlightId) -> Option<Flight<P>> {
        let flight = self.flights.remove(&id)?;
        self.followers -= flight.followers.len();
        if self.joinable.get(&flight.place) == Some(&id) {
            self.joinable.remove(&flight.place);
        }
        Some(flight)
    }

    /// Who leads has left: the most urgent of those who wait leads from `now` on, if one does. Without one the flight is over.
    pub(super) fn promote(&mut self, id: FlightId, now: Moment) -> Option<P> {
        let flight = self.flights.get_mut(&id)?;
        let before = flight.followers.len();
        flight.followers.retain(|follower| !follower.port.is_closed());
        self.followers -= before - flight.followers.len();
        let next = (0..flight.followers.len()).min_by_key(|place| flight.followers[*place].priority);
        let Some(next) = next else {
            self.land(id);
            return None;
        };
        let Follower { port, priority } = flight.followers.remove(next);
        self.followers -= 1;
        flight.priority = priority;
        flight.begun = now;
        Some(port)
    }

    /// Requests under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }
}
