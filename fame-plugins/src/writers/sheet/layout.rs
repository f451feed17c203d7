//! The layout of a sheet: which picture stands where.

use std::collections::BTreeMap;

use fame_core::{
    Claim, Error, Explanation, Frame, MapId, NamedMap, Picture, Result, Sample,
    contract::FinishedItem,
};

use super::super::{
    maps, picture_of,
    plate::marked,
    thumbnail::{answer, told},
};
use crate::datasets::stem;

/// Up to this many pictures of one explainer stand side by side.
const ONE_ROW: usize = 8;

/// A row of the sheet.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    /// Stands above the row, if not empty.
    pub(super) title: String,
    /// Stands left of the row, if not empty.
    pub(super) label: String,
    pub(super) cells: Vec<Cell<'a>>,
}

impl Line<'_> {
    /// Takes all words away.
    pub(super) fn silence(&mut self) {
        self.title.clear();
        self.label.clear();
        self.cells.iter_mut().for_each(|c| c.caption.clear());
    }
}

/// A place in a row.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    /// Stands above the place, if not empty.
    pub(super) caption: String,
    pub(super) shows: Shows<'a>,
}

/// The content of a cell.
#[derive(Debug)]
pub(super) enum Shows<'a> {
    /// A map that does not exist.
    Blank,
    /// A prepared picture.
    Picture(&'a Picture),
    /// A map over its picture.
    Map(&'a Picture, &'a NamedMap),
}

/// Lays out `item`; `columns` and `picture` are the parameters of [`super::Sheet`].
pub(super) fn lines<'a>(
    item: &FinishedItem<'a>,
    columns: Option<usize>,
    picture: Option<bool>,
) -> Result<Vec<Line<'a>>> {
    // What the network answered stands above everything.
    let answers = told(maps(item).map(|(_, map)| &map.facts), marked);
    let mut lines = Vec::new();
    if !answers.is_empty() {
        let said: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        lines.push(Line { title: said.join(", "), ..Line::default() });
    }
    let (heading, several) = (lines.len(), answers.len() > 1);
    let mut compared = Vec::new();
    for (name, explanation) in item.explanations.iter().filter(|(_, e)| !e.maps.is_empty()) {
        if columns.is_some() {
            lines.extend(packed(item.sample, name, explanation, columns, picture, several)?);
        } else if let Some(grids) = grids(item.sample, explanation)? {
            for grid in grids {
                lines.extend(grid.lines(item.sample, name, picture)?);
            }
        } else {
            compared.push((name, explanation));
        }
    }
    match compared[..] {
        [] => {}
        [(name, explanation)] => {
            lines.extend(packed(item.sample, name, explanation, None, picture, several)?);
        }
        _ => lines.extend(comparison(item.sample, &compared, picture, several)?),
    }
    Ok(if lines.len() > heading { lines } else { Vec::new() })
}

fn map_cell<'a>(sample: &'a Sample, map: &'a NamedMap, caption: &str) -> Result<Cell<'a>> {
    Ok(Cell { caption: caption.to_owned(), shows: Shows::Map(picture_of(sample, map)?, map) })
}

/// The prepared picture of `role`: of several, with its role and the name of its file.
fn picture_cell<'a>(sample: &'a Sample, role: &str) -> Result<Cell<'a>> {
    let picture = sample
        .picture(role)
        .ok_or_else(|| Error::bug(format!("the sample has no picture `{role}`.")))?;
    let caption = match sample.pictures.len() {
        1 => "picture".to_owned(),
        _ => format!("{role}: {}", marked(&name_of(picture))),
    };
    Ok(Cell { caption, shows: Shows::Picture(picture) })
}

/// The name of the file that a picture is from, with its place where that holds several, and with
/// its folder where it is only numbered there: `Ann Lee/0001`.
fn name_of(picture: &Picture) -> String {
    let source = &picture.source;
    if let Some((file, place)) = source.rsplit_once('#')
        && place.parse::<usize>().is_ok()
    {
        return format!("{}#{place}", stem(file));
    }
    let name = stem(source);
    let folder = source.rsplit('/').nth(1).filter(|folder| !folder.is_empty());
    match folder.filter(|_| name.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(folder) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// The name of `map`, and the answer that it explains, where there are `several`:
/// `class_281, tabby 62 %`.
fn named(map: &NamedMap, several: bool) -> String {
    let own = answer(&map.facts, marked).filter(|_| several);
    own.map_or_else(|| map.name(), |own| format!("{}, {}", map.name(), own.text))
}

/// The maps of one explainer in order, each role's picture before its first map.
fn packed<'a>(
    sample: &'a Sample,
    name: &str,
    explanation: &'a Explanation,
    columns: Option<usize>,
    picture: Option<bool>,
    several: bool,
) -> Result<Vec<Line<'a>>> {
    let mut cells = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for map in &explanation.maps {
        if picture.unwrap_or(true) && !seen.contains(&map.id.role.as_str()) {
            seen.push(&map.id.role);
            cells.push(picture_cell(sample, &map.id.role)?);
        }
        cells.push(map_cell(sample, map, &named(map, several))?);
    }
    Ok(wrapped(cells, name, columns))
}

/// `cells` in rows of `columns`, or side by side while they are few and as a near-square when they
/// are more.
fn wrapped<'a>(cells: Vec<Cell<'a>>, title: &str, columns: Option<usize>) -> Vec<Line<'a>> {
    let fitting = if cells.len() <= ONE_ROW {
        cells.len()
    } else {
        (cells.len() as f64).sqrt().ceil() as usize
    };
    let columns = columns.unwrap_or(fitting).max(1);
    let mut lines: Vec<Line<'a>> = Vec::new();
    for (i, cell) in cells.into_iter().enumerate() {
        if i % columns == 0 {
            lines.push(Line {
                title: if i == 0 { title.to_owned() } else { String::new() },
                ..Line::default()
            });
        }
        if let Some(line) = lines.last_mut() {
            line.cells.push(cell);
        }
    }
    lines
}

/// One row per explainer, one column per map name; the columns of a role follow its picture.
/// Explainers with one map of one name each, as classifiers' have, would make a long narrow strip:
/// they are wrapped instead, each under its explainer's name.
fn comparison<'a>(
    sample: &'a Sample,
    compared: &[(&'a String, &'a Explanation)],
    picture: Option<bool>,
    several: bool,
) -> Result<Vec<Line<'a>>> {
    let mut columns: Vec<&MapId> = Vec::new();
    for role in sample.roles() {
        let maps = || compared.iter().flat_map(|(_, e)| &e.maps).filter(|m| m.id.role == role);
        // Noise takes no side: it stands below a map that does, and else has a column of its own.
        let sided = maps().filter(|m| m.id.claim != Claim::Neither);
        for map in sided.chain(maps().filter(|m| m.id.claim == Claim::Neither)) {
            if column_of(&map.id, &columns).is_none() {
                columns.push(&map.id);
            }
        }
    }
    if let [column] = columns.as_slice() {
        let mut cells = if picture.unwrap_or(true) {
            vec![picture_cell(sample, &column.role)?]
        } else {
            Vec::new()
        };
        for (name, explanation) in compared {
            let maps = explanation.maps.iter().filter(|m| column_of(&m.id, &columns).is_some());
            cells.extend(maps.map(|m| map_cell(sample, m, name)).collect::<Result<Vec<_>>>()?);
        }
        return Ok(wrapped(cells, "", None));
    }
    let caption = |column: &MapId| {
        let mut maps = compared.iter().flat_map(|(_, e)| &e.maps);
        let first = maps.find(|map| map.id == *column);
        first.map_or_else(|| column.name(), |map| named(map, several))
    };
    let mut lines = Vec::new();
    for (i, (name, explanation)) in compared.iter().enumerate() {
        let mut line = Line { label: (*name).clone(), ..Line::default() };
        let mut last_role = "";
        for (at, column) in columns.iter().enumerate() {
            if picture.unwrap_or(true) && column.role != last_role {
                line.cells.push(picture_cell(sample, &column.role)?);
                last_role = &column.role;
            }
            let mut maps = explanation.maps.iter();
            line.cells.push(match maps.find(|m| column_of(&m.id, &columns) == Some(at)) {
                Some(map) => map_cell(sample, map, &caption(column))?,
                None => Cell { caption: caption(column), shows: Shows::Blank },
            });
        }
        if i > 0 {
            line.cells.iter_mut().for_each(|c| c.caption.clear());
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Where the map `id` stands among `columns`: in that of its name, and where it takes no side of
/// what it is about, as noise does, in the first that is about the same.
fn column_of(id: &MapId, columns: &[&MapId]) -> Option<usize> {
    let named = columns.iter().position(|c| c.role == id.role && c.name() == id.name());
    let same = |c: &&MapId| MapId { claim: id.claim, ..(*c).clone() } == *id;
    named.or_else(|| columns.iter().position(same).filter(|_| id.claim == Claim::Neither))
}

/// Maps of one role that lie in rows and columns.
struct Grid<'a> {
    /// The role, where the explanation has several; the finish, where the cells have several.
    title: String,
    role: &'a str,
    rows: usize,
    columns: usize,
    cells: BTreeMap<(usize, usize), &'a NamedMap>,
}

impl<'a> Grid<'a> {
    fn lines(
        &self,
        sample: &'a Sample,
        name: &str,
        picture: Option<bool>,
    ) -> Result<Vec<Line<'a>>> {
        let title =
            if self.title.is_empty() { name.to_owned() } else { format!("{name}: {}", self.title) };
        let mut lines = Vec::new();
        if picture == Some(true) {
            lines.push(Line { cells: vec![picture_cell(sample, self.role)?], ..Line::default() });
        }
        for row in 0..self.rows {
            let mut line = Line { label: row.to_string(), ..Line::default() };
            for column in 0..self.columns {
                let caption = if row == 0 { column.to_string() } else { String::new() };
                line.cells.push(match self.cells.get(&(row, column)) {
                    Some(map) => map_cell(sample, map, &caption)?,
                    None => Cell { caption, shows: Shows::Blank },
                });
            }
            lines.push(line);
        }
        if let Some(first) = lines.first_mut() {
            first.title = title;
        }
        Ok(lines)
    }
}

/// The grids that the maps' frames form: one for each role and, where cells have several finishes,
/// for each of these. `None` when they form none.
fn grids<'a>(sample: &'a Sample, explanation: &'a Explanation) -> Result<Option<Vec<Grid<'a>>>> {
    let mut grids: Vec<Grid<'a>> = Vec::new();
    let several_roles = explanation.maps.iter().any(|m| m.id.role != explanation.maps[0].id.role);
    for role in sample.roles() {
        let maps: Vec<&NamedMap> = explanation.maps.iter().filter(|m| m.id.role == role).collect();
        let Some(first) = maps.first() else { continue };
        let picture = picture_of(sample, first)?;
        let Some(frames) = maps.iter().map(|m| m.frame).collect::<Option<Vec<Frame>>>() else {
            return Ok(None);
        };
        let rows = places(frames.iter().map(|f| (f.top, f.bottom)), picture.height());
        let columns = places(frames.iter().map(|f| (f.left, f.right)), picture.width());
        let (Some((rows, row_of)), Some((columns, column_of))) = (rows, columns) else {
            return Ok(None);
        };
        let start = grids.len();
        for (map, place) in maps.into_iter().zip(row_of.into_iter().zip(column_of)) {
            let free = grids[start..]
                .iter()
                .position(|g| !g.cells.contains_key(&place))
                .map(|i| start + i);
            let grid = free.unwrap_or_else(|| {
                let own = if grids.len() > start { map.name() } else { String::new() };
                let parts = [if several_roles { role } else { "" }, &own];
                let title =
                    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ");
                grids.push(Grid { title, role, rows, columns, cells: BTreeMap::new() });
                grids.len() - 1
            });
            grids[grid].cells.insert(place, map);
        }
    }
    // A few chosen cells would drown in blanks; dead ones, which come with warnings, must not move
    // the others.
    let blank = |g: &Grid<'_>| 2 * g.cells.len() < g.rows * g.columns;
    let scattered = explanation.warnings.is_empty() && grids.iter().any(blank);
    Ok((!scattered).then_some(grids))
}

/// How many equal parts of `extent` pixels the intervals are parts of, and which part each is.
/// `None` when they are not, or when there is one part only.
fn places(
    intervals: impl Iterator<Item = (usize, usize)> + Clone,
    extent: usize,
) -> Option<(usize, Vec<usize>)> {
    let (count, covered) = intervals
        .clone()
        .fold((0, 0), |(n, sum), (from, to)| (n + 1, sum + to.saturating_sub(from)));
    if covered == 0 {
        return None;
    }
    let parts = ((extent * count) as f64 / covered as f64).round() as usize;
    let size = extent as f64 / parts.max(1) as f64;
    // Ends were rounded to pixels.
    let near = |k: usize, pixel: usize| (k as f64 * size - pixel as f64).abs() <= 1.0;
    let part = |(from, to): (usize, usize)| {
        let k = (from as f64 / size).round() as usize;
        (k < parts && near(k, from) && near(k + 1, to)).then_some(k)
    };
    Some((parts, intervals.map(part).collect::<Option<Vec<usize>>>()?))
}

#[cfg(test)]
mod tests;
