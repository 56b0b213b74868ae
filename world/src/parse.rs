//! Reads attributes from a sentence: keywords, with adjectives before their noun and places
//! after it.

use crate::caption::Attribute;
use crate::palette::Colour;
use crate::scene::{Ground, Kind, Place, Size, Sky, Time};

/// What a sentence states, sorted, without repeats; words it does not know are passed over.
///
/// Made for captions of this world and for what people write in their manner:
/// "a red house by a lake, at night". Negations are not understood.
#[must_use]
pub fn attributes_of(text: &str) -> Vec<Attribute> {
    let mut text = text.to_lowercase().replace("pine tree", "pine");
    text.retain(|c| c != '\'');
    let mut reader = Reader::default();
    text.split(|c: char| !c.is_alphanumeric())
        .for_each(|word| reader.read(word));
    reader.stated.sort_unstable();
    reader.stated.dedup();
    reader.stated
}

/// Adjectives waiting for their noun, and the noun that a following place belongs to.
#[derive(Default)]
struct Reader {
    stated: Vec<Attribute>,
    count: Option<usize>,
    colour: Option<Colour>,
    size: Option<Size>,
    place: Option<Place>,
    noun: Option<Kind>,
}

impl Reader {
    fn read(&mut self, word: &str) {
        if let Some(kind) = kind(word) {
            self.noun(kind);
        } else if let Some(place) = place(word) {
            match self.noun {
                Some(kind) => self.stated.push(Attribute::Place(kind, place)),
                None => self.place = Some(place),
            }
        } else if let Some(colour) = Colour::ALL.into_iter().find(|c| c.word() == word) {
            // The white of "red and white" says nothing: every lighthouse has it.
            self.colour.get_or_insert(colour);
        } else if matches!(word, "stripes" | "stripe") {
            let colour = self.colour.take().filter(|&colour| colour != Colour::White);
            let both = self.noun.zip(colour);
            self.stated
                .extend(both.map(|(kind, colour)| Attribute::Colour(kind, colour)));
        } else if let Some(backdrop) = backdrop(word) {
            self.stated.push(backdrop);
        } else {
            self.count = count(word).or(self.count);
            self.size = size(word).or(self.size);
        }
    }

    fn noun(&mut self, kind: Kind) {
        self.noun = Some(kind);
        self.stated.push(Attribute::Thing(kind));
        let colour = self
            .colour
            .take()
            .filter(|colour| kind.colours().contains(colour));
        self.stated
            .extend(colour.map(|colour| Attribute::Colour(kind, colour)));
        let count = self.count.take().filter(|&count| count > 1);
        self.stated
            .extend(count.map(|count| Attribute::Count(kind, count)));
        let size = self.size.take().filter(|_| kind != Kind::Mountain);
        self.stated
            .extend(size.map(|size| Attribute::Size(kind, size)));
        let place = self.place.take();
        self.stated
            .extend(place.map(|place| Attribute::Place(kind, place)));
    }
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "house" | "houses" | "cottage" | "hut" => Kind::House,
        "lighthouse" | "lighthouses" => Kind::Lighthouse,
        "tree" | "trees" => Kind::Tree,
        "pine" | "pines" | "fir" | "firs" => Kind::Pine,
        "boat" | "boats" | "sailboat" | "sailboats" => Kind::Boat,
        "mountain" | "mountains" => Kind::Mountain,
        "balloon" | "balloons" => Kind::Balloon,
        "cactus" | "cacti" | "cactuses" => Kind::Cactus,
        _ => return None,
    })
}

fn place(word: &str) -> Option<Place> {
    Some(match word {
        "left" => Place::Left,
        "middle" | "centre" | "center" => Place::Middle,
        "right" => Place::Right,
        _ => return None,
    })
}

fn count(word: &str) -> Option<usize> {
    Some(match word {
        "a" | "an" | "one" => 1,
        "two" => 2,
        "three" => 3,
        _ => return None,
    })
}

fn size(word: &str) -> Option<Size> {
    Some(match word {
        "small" | "distant" | "little" | "tiny" => Size::Small,
        "big" | "large" | "huge" => Size::Big,
        _ => return None,
    })
}

/// Time, ground and sky.
fn backdrop(word: &str) -> Option<Attribute> {
    Some(match word {
        "dawn" | "morning" | "sunrise" => Attribute::Time(Time::Dawn),
        "day" | "daylight" | "daytime" | "noon" => Attribute::Time(Time::Day),
        "dusk" | "evening" | "sunset" => Attribute::Time(Time::Dusk),
        "night" | "dark" | "midnight" => Attribute::Time(Time::Night),
        "meadow" | "grassy" | "grass" => Attribute::Ground(Ground::Meadow),
        "desert" | "sandy" | "sand" => Attribute::Ground(Ground::Desert),
        "snow" | "snowy" => Attribute::Ground(Ground::Snow),
        "lake" => Attribute::Ground(Ground::Lake),
        "sun" => Attribute::Sky(Sky::Sun),
        "moon" => Attribute::Sky(Sky::Moon),
        "stars" => Attribute::Sky(Sky::Stars),
        "clouds" | "cloud" => Attribute::Sky(Sky::Clouds),
        _ => return None,
    })
}
